"""The control API: what is deployed, what runs, what it used, who may ask."""
