"""Small evaluation sets in the official formats: written for this project, or cut from held-out documents."""
