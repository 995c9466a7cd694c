"""Everything behind `ratemill explain`, in three parts that know nothing of each other's work.

    reading.py       asks Kafka and Elasticsearch, and gives `Facts`
    explanation.py   what an explanation holds; build.py makes one of `Facts`: pure, no clock, no service
    page.py          prints one
"""
