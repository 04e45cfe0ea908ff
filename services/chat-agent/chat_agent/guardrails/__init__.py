"""Guardrails: what people and models write is checked and masked before it is stored, sent or streamed."""
