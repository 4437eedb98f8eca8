"""The PLC contract, pure: tags, handshake, ring, acknowledgements; shared by every PlcLink."""
