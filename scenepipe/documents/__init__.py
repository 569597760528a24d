"""Documents: cut into parts with exact spans, read as scenes without a model, cited when they are recalled."""
