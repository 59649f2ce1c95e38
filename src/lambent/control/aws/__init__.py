"""What AWS Lambda's control operations do here: a function is a deployment, a version is a revision."""
