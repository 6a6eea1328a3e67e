"""Prompting: few-shot sets, tokenised prompts and chat templates."""
