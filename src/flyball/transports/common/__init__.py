"""What several transports stand on; none of them knows another one."""
