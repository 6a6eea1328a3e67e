"""Prompts: few-shot sets, texts and their tokens, chat templates."""
