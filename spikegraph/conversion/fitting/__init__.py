"""Codes, scales and corrections from calibration data."""
