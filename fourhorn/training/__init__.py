"""§2.3 and §5: training and fine-tuning."""
