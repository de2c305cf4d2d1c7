"""Staging in: what jobs/prepare_model.py and jobs/prepare_data.py share."""
