"""The shapes of AWS's own APIs. The texts are AWS's: programs match on them."""
