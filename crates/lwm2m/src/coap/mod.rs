//! CoAP (RFC 7252): messages, the message layer, block-wise transfer, observe.
