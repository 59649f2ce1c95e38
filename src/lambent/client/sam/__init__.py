"""AWS SAM templates, read as far as functions and layers go."""
