"""What Lambent is measured against: each peer runs in processes of its own."""
