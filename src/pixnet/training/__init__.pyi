from .fit import FitOptions as FitOptions
from .fit import fit_network as fit_network
