"""Marketplaces that are not there: servers written from the published contracts, and a simulation of the reporter against them."""
