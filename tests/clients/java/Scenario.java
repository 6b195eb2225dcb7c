// The scenario of tests/clients/README.md with Kafka's own Java client.
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class Scenario {
    static final int PARTITIONS = 3;
    static final String TOPIC = "java";
    static String bootstrap;
    static String protocol;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        protocol = args[1];
        String group = "java-" + protocol;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            if (!admin.listTopics().names().get().contains(TOPIC)) {
                NewTopic topic = new NewTopic(TOPIC, PARTITIONS, (short) 1).configs(Map.of("max.message.bytes", "4000000"));
                admin.createTopics(List.of(topic)).all().get();
            }
        }
        Set<String> expected = new TreeSet<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) produceAll(codec, expected);
        Set<String> read = new ConcurrentSkipListSet<>();
        Member a = new Member(group, read), b = new Member(group, read);
        await(() -> read.containsAll(expected), "two members read everything");
        await(() -> a.owned() + b.owned() == PARTITIONS && a.owned() > 0 && b.owned() > 0, "they share the partitions");

        // kill -9 of the node under a running producer and a running group.
        try (KafkaProducer<String, byte[]> producer = producer("lz4")) {
            sendMany(producer, "before", expected);
            producer.flush();
            Thread underway = new Thread(() -> sendSlowly(producer, "during", expected));
            underway.start();
            ask("RESTART");
            underway.join();
            producer.flush();
            Thread.sleep(2);
            long restarted = System.currentTimeMillis();
            sendMany(producer, "after", expected);
            producer.flush();
            await(() -> read.containsAll(expected), "the group goes on after kill -9");
            Member c = new Member(group, read);
            await(() -> c.owned() == 1 && a.owned() == 1 && b.owned() == 1, "a third member gets its share");
            b.leave();
            sendMany(producer, "late", expected);
            producer.flush();
            await(() -> read.containsAll(expected), "the others take over");
            a.leave();
            c.leave();
            seekByTime(restarted);
        }
        check(read.equals(expected), "nothing came that was not sent");
        System.out.println("PASS");
    }

    static KafkaProducer<String, byte[]> producer(String codec) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "compression.type", codec,
            "enable.idempotence", "true", "linger.ms", "5", "max.request.size", "4000000");
        return new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer());
    }

    static void produceAll(String codec, Set<String> expected) {
        try (KafkaProducer<String, byte[]> producer = producer(codec)) {
            sendMany(producer, codec + "-" + protocol, expected);
            byte[] large = new byte[1_500_000];
            new Random(1).nextBytes(large);
            send(producer, codec + "-" + protocol + "-large", large, expected);
            send(producer, codec + "-" + protocol + "-tombstone", null, expected);
        }
    }

    static void sendMany(KafkaProducer<String, byte[]> producer, String prefix, Set<String> expected) {
        for (int n = 0; n < 100; n++) {
            String key = protocol + prefix + "-" + n;
            send(producer, key, ("value of " + key).getBytes(StandardCharsets.UTF_8), expected);
        }
    }

    /** Requests are on their way while the node is killed. */
    static void sendSlowly(KafkaProducer<String, byte[]> producer, String prefix, Set<String> expected) {
        for (int n = 0; n < 200; n++) {
            String key = protocol + prefix + "-" + n;
            send(producer, key, ("value of " + key).getBytes(StandardCharsets.UTF_8), expected);
            LockSupport.parkNanos(2_000_000);
        }
    }

    static void send(KafkaProducer<String, byte[]> producer, String key, byte[] value, Set<String> expected) {
        ProducerRecord<String, byte[]> record = new ProducerRecord<>(TOPIC, key, value);
        record.headers().add(new RecordHeader("of", key.getBytes(StandardCharsets.UTF_8))).add("empty", null);
        expected.add(key);
        producer.send(record, (metadata, error) -> { if (error != null) fail(error.toString()); });
    }

    static KafkaConsumer<String, byte[]> consumer(String group) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "group.id", group,
            "auto.offset.reset", "earliest", "enable.auto.commit", "false", "group.protocol", protocol));
        if (protocol.equals("classic")) {
            config.put("session.timeout.ms", "10000");
            config.put("heartbeat.interval.ms", "500");
            config.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        }
        return new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer());
    }

    /** A member of the group in a thread of its own. What it reads it commits at once. */
    static class Member {
        final Thread thread;
        volatile int owned;
        volatile boolean leaves;

        Member(String group, Set<String> read) {
            thread = new Thread(() -> run(group, read));
            thread.setDaemon(true);
            thread.start();
        }

        void run(String group, Set<String> read) {
            try (KafkaConsumer<String, byte[]> consumer = consumer(group)) {
                consumer.subscribe(List.of(TOPIC), new ConsumerRebalanceListener() {
                    public void onPartitionsRevoked(Collection<TopicPartition> partitions) { commit(consumer); }
                    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
                });
                while (!leaves) {
                    ConsumerRecords<String, byte[]> records = consumer.poll(Duration.ofMillis(50));
                    owned = consumer.assignment().size();
                    List<String> ours = new ArrayList<>();
                    for (ConsumerRecord<String, byte[]> record : records) {
                        verify(record);
                        if (record.key().startsWith(protocol) || record.key().contains("-" + protocol)) ours.add(record.key());
                    }
                    if (!records.isEmpty()) commit(consumer);
                    for (String key : ours) check(read.add(key), key + " came twice");
                }
                commit(consumer);
            } catch (Throwable error) {
                error.printStackTrace();
                fail(error.toString());
            }
        }

        /** During a rebalance it may be too early: the next one takes everything with it. */
        void commit(KafkaConsumer<String, byte[]> consumer) {
            try {
                consumer.commitSync();
            } catch (RebalanceInProgressException early) {
                System.out.println("a commit waits for the rebalance");
            }
        }

        int owned() { return owned; }

        void leave() throws InterruptedException {
            leaves = true;
            thread.join();
        }
    }

    static void verify(ConsumerRecord<String, byte[]> record) {
        String of = new String(record.headers().lastHeader("of").value(), StandardCharsets.UTF_8);
        check(of.equals(record.key()) && record.headers().lastHeader("empty").value() == null, "headers of " + record.key());
        if (record.key().endsWith("tombstone")) check(record.value() == null, "a tombstone has no value");
        else if (record.key().endsWith("large")) check(record.value().length == 1_500_000, "a large value comes whole");
        else check(new String(record.value(), StandardCharsets.UTF_8).equals("value of " + record.key()), "values");
    }

    static void seekByTime(long since) {
        try (KafkaConsumer<String, byte[]> consumer = consumer("java-seek")) {
            Map<TopicPartition, Long> times = new HashMap<>();
            for (int n = 0; n < PARTITIONS; n++) times.put(new TopicPartition(TOPIC, n), since);
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(times);
            consumer.assign(times.keySet());
            found.forEach((partition, at) -> { check(at.timestamp() >= since, "times"); consumer.seek(partition, at.offset()); });
            Map<TopicPartition, Long> ends = consumer.endOffsets(times.keySet());
            int count = 0;
            while (times.keySet().stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                    check(record.timestamp() >= since, "a record is older than asked for");
                    count++;
                }
            }
            check(count == 200, "seek by time found " + count + " records");
        }
    }

    interface Condition { boolean holds(); }

    static void await(Condition condition, String what) throws InterruptedException {
        long deadline = System.currentTimeMillis() + 60_000;
        while (true) {
            if (condition.holds()) break;
            check(System.currentTimeMillis() < deadline, what + ": not within a minute");
            Thread.sleep(20);
        }
        System.out.println("ok: " + what);
    }

    /** Tells whoever runs this to do something, and waits until it is done. */
    static void ask(String word) throws Exception {
        System.out.println(word);
        check(System.in.read() >= 0, "the answer to " + word);
    }

    static void check(boolean holds, String what) { if (!holds) fail(what); }

    static void fail(String what) {
        System.out.println("FAIL: " + what);
        System.exit(1);
    }
}
