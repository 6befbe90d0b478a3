from .pixnet import PixNet as PixNet
