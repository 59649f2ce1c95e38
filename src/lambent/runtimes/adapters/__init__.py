"""What makes model files callable: one file a framework, imported when such a file is loaded."""
