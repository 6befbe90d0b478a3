from .slide import Slide as Slide
