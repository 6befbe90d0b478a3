"""Features of a frozen encoder, stored on disk: computed once, read by trainings and predictions."""
