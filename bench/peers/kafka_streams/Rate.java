// Kafka Streams, processor API: three RocksDB stores with changelogs on the account's partition; exactly once (v2) or at least once.

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.File;
import java.math.BigDecimal;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

public final class Rate {
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Usage(String source, String id, String subject, String time, Data data) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Data(String sku, String quantity) {}

    record Settings(
        String bootstrap, String topic, String out, String application, String folder, String guarantee, int partitions,
        Map<String, List<List<String>>> prices) {}

    /** A graduated price: each unit of a month costs what the tier says that it falls in. */
    static final class Tariff {
        private final List<BigDecimal> bounds = new ArrayList<>();
        private final List<BigDecimal> prices = new ArrayList<>();

        Tariff(List<List<String>> tiers) {
            for (List<String> tier : tiers) {
                bounds.add(tier.get(0) == null ? null : new BigDecimal(tier.get(0)));
                prices.add(new BigDecimal(tier.get(1)));
            }
        }

        BigDecimal cost(BigDecimal before, BigDecimal after) {
            BigDecimal total = BigDecimal.ZERO;
            for (int i = 0; i < bounds.size(); i++) {
                BigDecimal bound = bounds.get(i);
                if (bound == null || after.compareTo(bound) <= 0) {
                    return total.add(after.subtract(before).multiply(prices.get(i)));
                }
                if (before.compareTo(bound) < 0) {
                    total = total.add(bound.subtract(before).multiply(prices.get(i)));
                    before = bound;
                }
            }
            return total;
        }
    }

    static final class Rating implements Processor<byte[], byte[], String, String> {
        private static final byte[] SEEN = {1};
        private final ObjectReader reader;
        private final Map<String, Tariff> tariffs;
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, byte[]> seen;
        private KeyValueStore<String, String> totals;
        private KeyValueStore<String, String> windows;

        Rating(ObjectReader reader, Map<String, Tariff> tariffs) {
            this.reader = reader;
            this.tariffs = tariffs;
        }

        @Override
        public void init(ProcessorContext<String, String> given) {
            context = given;
            seen = given.getStateStore("seen");
            totals = given.getStateStore("totals");
            windows = given.getStateStore("windows");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Usage event;
            try {
                event = reader.readValue(record.value());
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
            String identity = event.subject() + ' ' + event.source() + ' ' + event.id();
            if (seen.get(identity) != null) {
                return;
            }
            seen.put(identity, SEEN);
            BigDecimal added = new BigDecimal(event.data().quantity());
            String group = event.subject() + ' ' + event.data().sku() + ' ';
            String month = group + event.time().substring(0, 7);
            String window = group + event.time().substring(0, 13);
            String total = totals.get(month);
            BigDecimal before = total == null ? BigDecimal.ZERO : new BigDecimal(total);
            BigDecimal after = before.add(added);
            totals.put(month, after.toPlainString());
            BigDecimal quantity = added;
            BigDecimal cost = tariffs.get(event.data().sku()).cost(before, after);
            String known = windows.get(window);
            if (known != null) {
                int space = known.indexOf(' ');
                quantity = quantity.add(new BigDecimal(known.substring(0, space)));
                cost = cost.add(new BigDecimal(known.substring(space + 1)));
            }
            String sums = quantity.toPlainString();
            String costs = cost.toPlainString();
            windows.put(window, sums + ' ' + costs);
            context.forward(new Record<>(window, "{\"quantity\":\"" + sums + "\",\"cost\":\"" + costs + "\"}", record.timestamp()));
        }
    }

    private static <V> StoreBuilder<KeyValueStore<String, V>> store(String name, Serde<V> values) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), values);
    }

    private static Properties configuration(Settings told) {
        boolean exactly = told.guarantee().equals("exactly_once_v2");
        Properties set = new Properties();
        set.put(StreamsConfig.APPLICATION_ID_CONFIG, told.application());
        set.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, told.bootstrap());
        set.put(StreamsConfig.STATE_DIR_CONFIG, Path.of(told.folder(), "state").toString());
        set.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, told.guarantee());
        // Exactly once commits every 100 ms by default; fewer commits write less to the changelogs.
        set.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, exactly ? 5_000 : 30_000);
        set.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 60_000);
        set.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
        set.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        set.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        set.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        set.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        set.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        return set;
    }

    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        Settings told = mapper.readValue(new File(arguments[0]), Settings.class);
        Map<String, Tariff> tariffs = new HashMap<>();
        told.prices().forEach((sku, tiers) -> tariffs.put(sku, new Tariff(tiers)));
        ObjectReader reader = mapper.readerFor(Usage.class);

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(store("seen", Serdes.ByteArray()));
        builder.addStateStore(store("totals", Serdes.String()).withCachingEnabled());
        builder.addStateStore(store("windows", Serdes.String()).withCachingEnabled());
        builder.stream(told.topic(), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .process(() -> new Rating(reader, tariffs), "seen", "totals", "windows")
            .to(told.out(), Produced.with(Serdes.String(), Serdes.String()));

        KafkaStreams streams = new KafkaStreams(builder.build(), configuration(told));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.err.println("ready");
            } else if (now == KafkaStreams.State.ERROR) {
                System.exit(1);
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }
}
