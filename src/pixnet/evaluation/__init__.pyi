from .protocol import Protocol as Protocol
from .report import write_report as write_report
from .runner import evaluate as evaluate
from .runner import run as run
