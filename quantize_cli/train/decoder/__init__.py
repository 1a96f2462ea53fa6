"""The runtime's forward pass in torch, so that gradients flow."""
