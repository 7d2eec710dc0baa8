"""§3.6, §8: sampling from a model."""
