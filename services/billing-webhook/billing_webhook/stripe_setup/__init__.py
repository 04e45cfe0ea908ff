"""What `stripe setup` creates at Stripe, or reuses."""
