"""The plans that are for sale: their prices, features and meters, out of one file."""
