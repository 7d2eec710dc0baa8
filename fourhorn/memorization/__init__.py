"""§4: generalization against memorization."""
