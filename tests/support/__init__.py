"""What tests share: virtual time and verified fakes."""
