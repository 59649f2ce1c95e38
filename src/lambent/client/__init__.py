"""What users import: the App that declares deployments, and a typed client of the server."""
