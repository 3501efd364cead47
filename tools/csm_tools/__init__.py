"""Developer tools that let Hugging Face transformers say what csm.cpp must compute."""
