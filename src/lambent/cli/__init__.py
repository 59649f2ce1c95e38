"""The `lambent` command: each verb is a call of the client, and each file one group of verbs."""
