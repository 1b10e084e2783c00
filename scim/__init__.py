"""The target on the wire: SCIM 2.0 (RFC 7642, 7643, 7644, 9865) over HTTP."""
