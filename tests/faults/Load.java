// The load of tests/faults with Kafka's Java client: an idempotent producer and a member of a group, a line for all they do.
// Its standard input ends what runs: "stop" the producer, the end of the input the rest.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Load {
    static String bootstrap, topic, protocol;
    static int partitions, perSecond;
    static volatile boolean producing = true, reading = true, renew = false;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        topic = args[1];
        partitions = Integer.parseInt(args[2]);
        protocol = args[3];
        perSecond = Integer.parseInt(args[4]);
        Thread producer = new Thread(Load::produce), consumer = new Thread(Load::consume);
        producer.start();
        consumer.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        String line = input.readLine();
        producing = false;
        producer.join();
        say("stopped");
        while (line != null) line = input.readLine();
        reading = false;
        consumer.join();
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static Map<String, Object> common() {
        // Connections that lead nowhere are given up soon, so that a fault of some seconds is not stretched by its clients.
        return new HashMap<>(Map.of("bootstrap.servers", bootstrap, "socket.connection.setup.timeout.ms", "1000",
            "socket.connection.setup.timeout.max.ms", "2000", "request.timeout.ms", "5000", "reconnect.backoff.max.ms", "500",
            "default.api.timeout.ms", "15000"));
    }

    static void produce() {
        long started = System.nanoTime(), n = 0;
        for (int life = 0; producing; life++) {
            String name = "java." + life;
            Map<String, Object> config = common();
            config.putAll(Map.of("acks", "all", "enable.idempotence", "true", "linger.ms", "2", "delivery.timeout.ms", "60000"));
            renew = false;
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                for (; producing && !renew; n++) {
                    LockSupport.parkNanos(started + n * 1_000_000_000L / perSecond - System.nanoTime());
                    send(producer, name, (int) (n % partitions), name + "-" + n);
                }
                producer.flush();
            } catch (Exception error) {
                say("note " + name + ": " + error);
            }
        }
    }

    static void send(KafkaProducer<String, String> producer, String name, int partition, String value) {
        String what = name + " " + partition + " " + value;
        say("sent " + what);
        try {
            producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
                if (error == null) {
                    say("acked " + what + (metadata.hasOffset() ? " " + metadata.offset() : ""));
                } else if (error instanceof RecordTooLargeException) {
                    say("failed " + what);
                } else {
                    say("unknown " + what + " " + error);
                    // A late answer costs one record; anything else may have been the end of this producer.
                    if (!(error instanceof org.apache.kafka.common.errors.TimeoutException)) renew = true;
                }
            });
        } catch (Exception error) {
            say("unknown " + what + " " + error);
            renew = true;
        }
    }

    static void consume() {
        for (int life = 0; reading; life++) {
            String name = "java." + life;
            Map<String, Object> config = common();
            config.putAll(Map.of("group.id", "faults", "group.protocol", protocol, "enable.auto.commit", "false",
                "auto.offset.reset", "earliest", "fetch.max.wait.ms", "100"));
            if (protocol.equals("classic")) {
                config.putAll(Map.of("session.timeout.ms", "10000", "heartbeat.interval.ms", "1000",
                    "partition.assignment.strategy", RangeAssignor.class.getName()));
            }
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    public void onPartitionsAssigned(Collection<TopicPartition> given) { say("assigned " + name + numbers(given)); }
                    public void onPartitionsRevoked(Collection<TopicPartition> taken) { say("revoked " + name + numbers(taken)); }
                });
                long committed = System.nanoTime();
                while (reading) {
                    for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                        say("polled " + name + " " + record.partition() + " " + record.offset() + " " + record.value());
                    }
                    if (System.nanoTime() - committed > 500_000_000L) {
                        commit(consumer, name);
                        committed = System.nanoTime();
                    }
                }
            } catch (Exception error) {
                say("note " + name + ": " + error);
            }
        }
    }

    static void commit(KafkaConsumer<String, String> consumer, String name) {
        Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
        try {
            for (TopicPartition partition : consumer.assignment()) {
                positions.put(partition, new OffsetAndMetadata(consumer.position(partition, Duration.ofSeconds(5))));
            }
            consumer.commitSync(positions, Duration.ofSeconds(5));
            positions.forEach((partition, at) -> say("committed " + partition.partition() + " " + at.offset()));
        } catch (Exception error) {
            // Its positions stay; the next commit takes these with it.
            say("note " + name + ": commit: " + error);
        }
    }

    static String numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(partition -> " " + partition.partition()).collect(Collectors.joining());
    }
}
