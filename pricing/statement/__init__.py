"""What an account's month costs beyond its SKUs: an ordered pipeline of adjustments, one file each. Pure and exact."""
