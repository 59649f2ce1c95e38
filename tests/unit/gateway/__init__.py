"""The doors, with everything real but what runs the code."""
