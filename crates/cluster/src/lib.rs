//! Kubernetes objects in compact form, from YAML, JSON and RON models.
