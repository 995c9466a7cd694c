"""Chaos: a whole Ratemill on a real Kafka and a real Elasticsearch, faults from a seed, and an oracle that says what must stand.

    make chaos SEED=7 [SECONDS=60] [BROKERS=3]

    schedule.py    seed -> which faults hit when, and for how long; pure
    proxy.py       between the workers and Kafka: delays, swallows, resets, drops answers
    http_proxy.py  between the workers and Elasticsearch: refuses, fails in part, drops answers
    world.py       servers, proxies, workers and their supervisor, traffic
    faults.py      how each fault is brought about, how it is taken back, and what shows that it hit
    judge.py       the comparison: lost, doubled, mismatched
"""
