"""Histories (native/core/history.h): what all clients of a service have sent; read, and played again."""
