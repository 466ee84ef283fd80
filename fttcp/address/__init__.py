"""The service address: its announcement to the neighbours, and the link that it lives on."""
