from .demo import DemoSize as DemoSize
from .demo import run_demo as run_demo
