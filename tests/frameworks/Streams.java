// A Kafka Streams application: the words of `lines` are counted into `counts`, and `left` is joined with `right` over a
// window of ten seconds into `joined`. It prints each state that it comes to, and stops in order when its standard input
// ends. Then it says `REDELIVERED n`: so many records of its topics came to it a second time, by their offsets.
//
//   Streams.java BOOTSTRAP [NAME=VALUE...]    further settings of Kafka Streams
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.state.*;

public class Streams {
    static final Set<String> positions = ConcurrentHashMap.newKeySet();
    static final AtomicInteger redelivered = new AtomicInteger();
    static final CountDownLatch end = new CountDownLatch(1);

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.putAll(Map.of("application.id", "app", "bootstrap.servers", args[0], "replication.factor", "1",
            "default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.StringSerde.class,
            "commit.interval.ms", "200", "statestore.cache.max.bytes", "0", "auto.offset.reset", "earliest",
            "dsl.store.suppliers.class", BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class));
        for (String setting : Arrays.copyOfRange(args, 1, args.length)) {
            String[] parts = setting.split("=", 2);
            config.put(parts[0], parts[1]);
        }
        Thread input = new Thread(Streams::waitForTheEndOfInput);
        input.setDaemon(true);
        input.start();
        KafkaStreams streams = new KafkaStreams(topology(), config);
        streams.setUncaughtExceptionHandler(thrown -> {
            for (Throwable t = thrown; t != null; t = t.getCause()) System.out.println("FAILED " + t);
            end.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> System.out.println(now));
        streams.start();
        end.await();
        // A member that does not leave would be waited for by the next one.
        streams.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
        System.out.println("REDELIVERED " + redelivered);
    }

    static void waitForTheEndOfInput() {
        try {
            while (System.in.read() != -1) { }
        } catch (java.io.IOException broken) {
            System.out.println("FAILED " + broken);
        }
        end.countDown();
    }

    static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines")
            .processValues(Noticed::new)
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .selectKey((key, word) -> word)
            .repartition(Repartitioned.as("words"))
            .processValues(Noticed::new)
            .groupByKey()
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("words").withValueSerde(Serdes.Long()))
            .toStream()
            .mapValues(count -> count.toString())
            .to("counts");
        // A day of grace: how two partitions are interleaved is nobody's promise.
        JoinWindows window = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(10), Duration.ofDays(1));
        timed(builder, "left").join(timed(builder, "right"), (l, r) -> l + " " + r, window).to("joined");
        return builder.build();
    }

    /** The time of a record stands in it: `name@milliseconds`. */
    static KStream<String, String> timed(StreamsBuilder builder, String topic) {
        Consumed<String, String> consumed = Consumed.with((record, previous) -> {
            String value = (String) record.value();
            return Long.parseLong(value.substring(value.indexOf('@') + 1));
        });
        return builder.<String, String>stream(topic, consumed).processValues(Noticed::new);
    }

    /** Passes every record on, and counts those that it has had before. */
    static class Noticed extends ContextualFixedKeyProcessor<String, String, String> {
        @Override
        public void process(FixedKeyRecord<String, String> record) {
            RecordMetadata at = context().recordMetadata().orElseThrow();
            if (!positions.add(at.topic() + " " + at.partition() + " " + at.offset())) redelivered.incrementAndGet();
            context().forward(record);
        }
    }
}
