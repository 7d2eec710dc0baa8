"""§2.3: the model. Its shape (`config`), its architecture (`transformer`), its memory of past tokens (`cache`)."""
