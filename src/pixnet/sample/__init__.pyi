from .sample import Sample as Sample
