"""Word lists and sentence frames behind `generate_sample_data.py`.

`terms` holds the entities, aligned over the languages; `en`, `es`, `fr` and `it` hold what is
written around them; `grammar` turns a frame and some nouns into text.
"""
