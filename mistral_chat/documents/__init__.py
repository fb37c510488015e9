"""Reads text and passages from files. Knows neither SQL nor the engine."""
