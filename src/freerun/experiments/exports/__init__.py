"""What leaves a run: tables, a section for a model card, and numbers for experiment trackers."""
