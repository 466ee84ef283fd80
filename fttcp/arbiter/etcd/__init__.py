"""etcd as arbiter, through the JSON gateway of its v3 API."""
