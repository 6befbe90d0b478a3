from .base import Regions as Regions
from .disks import Disks as Disks
from .labels import LabelMask as LabelMask
from .polygons import Polygons as Polygons
from .squares import Squares as Squares
