"""SageMaker's models, endpoint configurations and endpoints, made of our deployments."""
